"""What is compiled of each exchange: where its sessions come from, and how far it has announced them itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

END_OF_2026 = date(2026, 12, 31)

Pattern = tuple[str | None, ...]
"""The hours of each weekday, Monday first; None is a day without a session."""


@dataclass(frozen=True)
class Regime:
    """The weekly pattern from this day on; `early 10:00-13:50` says that a weekday's own hours are no full day."""

    since: date
    week: Pattern


@dataclass(frozen=True)
class Exchange:
    """What is compiled of one exchange.

    `library`: the calendar it is read from, of pandas_market_calendars or, by that name, of exchange_calendars;
    `chosen` says why this one. None where `regimes` and `closed` are the rule itself. `regimes` are read from the
    library where they are not stated. `published`: up to this day the exchange has announced its holidays, see
    `published_in`; the rules go on to `last`, and those sessions are provisional.
    `known`: where the library's holidays end, which follow the moon and are announced year by year. Behind it the
    weekly pattern goes on without the holidays that are `fixed`: a worker must not stop on New Year's Day because next
    year is not announced. The moving ones are not known there, so a provisional session may turn out to be none.
    """

    name: str
    library: str | None
    chosen: str
    zone: str
    published: date
    published_in: str
    first: date = date(1990, 1, 1)
    last: date = date(2035, 12, 31)
    regimes: tuple[Regime, ...] = ()
    closed: Callable[[int], Iterable[date]] | None = None
    known: date | None = None
    fixed: Callable[[int], Iterable[date]] | None = None


def weekdays(hours: str) -> Pattern:
    """The same hours from Monday to Friday."""
    return (hours,) * 5 + (None, None)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar, by the formula of Meeus, Jones and Butcher."""
    century, rest = divmod(year, 100)
    moon = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    sunday = (32 + 2 * (century % 4) + 2 * (rest // 4) - moon - rest % 4) % 7
    shift = (year % 19 + 11 * moon + 22 * sunday) // 451
    month, day = divmod(moon + sunday - 7 * shift + 114, 31)
    return date(year, month, day + 1)


def original(
    mic: str, name: str, zone: str, published_in: str, first: date = date(1990, 1, 1), last: date = date(2035, 12, 31),
    regimes: tuple[Regime, ...] = (), chosen: str = "the library has no own calendar of this exchange",
    known: date | None = None, fixed: Callable[[int], Iterable[date]] | None = None,
) -> Exchange:  # fmt: skip
    """An exchange read from exchange_calendars, announced up to the end of 2026.

    It is what pandas_market_calendars mirrors; the mirror loses Santiago's closes, sessions outside the weekly pattern,
    the shifted hours of Seoul and the end of its lunch breaks, so the original is read.
    """
    return Exchange(
        name, f"exchange_calendars {mic}", chosen, zone, END_OF_2026, published_in, first, last, regimes,
        known=known, fixed=fixed,
    )  # fmt: skip


def indian_holidays(year: int) -> list[date]:
    """The holidays of NSE and BSE whose date needs no announcement."""
    return [
        date(year, 1, 26), easter(year) - timedelta(days=2), date(year, 4, 14), date(year, 5, 1), date(year, 8, 15),
        date(year, 10, 2), date(year, 12, 25),
    ]  # fmt: skip


def singapore_holidays(year: int) -> list[date]:
    """The holidays of SGX whose date needs no announcement; one on a Sunday is kept on the Monday after it."""
    days = [date(year, 1, 1), easter(year) - timedelta(days=2), date(year, 5, 1), date(year, 8, 9), date(year, 12, 25)]
    return [day + timedelta(days=1) if day.weekday() == 6 else day for day in days]


def never(year: int) -> list[date]:
    """A calendar without holidays."""
    return []


def target_holidays(year: int) -> list[date]:
    """The closing days of TARGET, as the ECB decided for 1999, 2000, 2001 and from 2002 until further notice."""
    if year == 1999:
        return [date(1999, 1, 1), date(1999, 12, 25), date(1999, 12, 31)]
    found = [
        date(year, 1, 1), easter(year) - timedelta(days=2), easter(year) + timedelta(days=1), date(year, 5, 1),
        date(year, 12, 25), date(year, 12, 26),
    ]  # fmt: skip
    return [*found, date(year, 12, 31)] if year == 2001 else found


EXCHANGES = {
    "XNYS": Exchange(
        "New York Stock Exchange", "NYSE", "knows the late openings and interrupted days of the 1990s, XNYS does not",
        "America/New_York", date(2028, 12, 31),
        "NYSE Group announces 2026, 2027 and 2028 holiday and early closings calendar, 2025-12-23",
    ),
    "XTSE": original(
        "XTSE", "Toronto Stock Exchange", "America/Toronto", "TMX Group, Toronto trading calendar 2026, tsx.com",
        chosen="same sessions as the library's own TSX since 2000, with the exchange's own time zone",
    ),
    "XMEX": original("XMEX", "Mexican Stock Exchange", "America/Mexico_City", "BMV, holiday calendar 2026, bmv.com.mx"),
    "BVMF": original(
        "BVMF", "B3, São Paulo", "America/Sao_Paulo", "B3, trading calendar 2026, b3.com.br",
        chosen="the library's own BMF has no change of hours",
    ),
    "XBUE": original(
        "XBUE", "Buenos Aires Stock Exchange", "America/Argentina/Buenos_Aires", "BYMA, holidays 2026, byma.com.ar",
    ),
    "XBOG": original("XBOG", "Colombia Securities Exchange", "America/New_York", "bvc, holidays 2026, bvc.com.co"),
    "XSGO": original("XSGO", "Santiago Stock Exchange", "America/Santiago", "holidays 2026, bolsadesantiago.com"),
    "XLIM": original("XLIM", "Lima Stock Exchange", "America/Lima", "nuam, holiday calendar 2026, bvl.com.pe"),
    "XBDA": original("XBDA", "Bermuda Stock Exchange", "Atlantic/Bermuda", "BSX, market holidays 2026, bsx.com"),
    "XCBF": original(
        "XCBF", "Cboe Futures Exchange", "America/Chicago", "Cboe, U.S. futures holiday schedule 2026, cboe.com",
        chosen="same sessions as the library's own CFE, which has no regular hours of 2006",
    ),
    "CMES": Exchange(
        "CME E-mini S&P 500 on Globex", "CME Globex Equity",
        "closes at 16:00 and knows the 08:15 close of Good Fridays with a jobs report; CMES has neither",
        "America/Chicago", END_OF_2026, "CME Group, Globex holiday calendar 2026, cmegroup.com",
    ),
    "IEPA": original("IEPA", "ICE Futures U.S.", "America/New_York", "ICE, exchange holiday calendar 2026, ice.com"),
    "SIFMAUS": Exchange(
        "US bond market, as recommended", "SIFMAUS", "the only calendar of this market that the library has",
        "America/New_York", END_OF_2026, "SIFMA, U.S. holiday recommendations 2026, sifma.org",
    ),
    "XLON": original(
        "XLON", "London Stock Exchange", "Europe/London", "LSE, business days 2026, londonstockexchange.com",
        chosen="same sessions as the library's own LSE",
    ),
    "XDUB": original("XDUB", "Euronext Dublin", "Europe/Dublin", "Euronext, trading calendar 2026, euronext.com"),
    "XPAR": original("XPAR", "Euronext Paris", "Europe/Paris", "Euronext, trading calendar 2026, euronext.com"),
    "XAMS": original("XAMS", "Euronext Amsterdam", "Europe/Amsterdam", "Euronext, trading calendar 2026, euronext.com"),
    "XBRU": original("XBRU", "Euronext Brussels", "Europe/Brussels", "Euronext, trading calendar 2026, euronext.com"),
    "XLIS": original("XLIS", "Euronext Lisbon", "Europe/Lisbon", "Euronext, trading calendar 2026, euronext.com"),
    "XMIL": original("XMIL", "Euronext Milan", "Europe/Rome", "Borsa Italiana, calendar 2026, borsaitaliana.it"),
    "XOSL": original("XOSL", "Euronext Oslo", "Europe/Oslo", "Euronext, trading calendar 2026, euronext.com"),
    "XETR": original("XETR", "Xetra, Frankfurt", "Europe/Berlin", "Deutsche Börse, trading calendar 2026, xetra.com"),
    "XFRA": original("XFRA", "Frankfurt Stock Exchange", "Europe/Berlin", "trading calendar 2026, boerse-frankfurt.de"),
    "XSTU": original("XSTU", "Stuttgart Stock Exchange", "Europe/Berlin", "trading calendar 2026, boerse-stuttgart.de"),
    "XHAM": original("XHAM", "Hamburg Stock Exchange", "Europe/Berlin", "trading calendar 2026, boersenag.de"),
    "XDUS": original("XDUS", "Düsseldorf Stock Exchange", "Europe/Berlin", "calendar 2026, boerse-duesseldorf.de"),
    "XEUR": original(
        "XEUR", "Eurex", "Europe/Berlin", "Eurex, trading calendar 2026, eurex.com",
        chosen="the library's own EUREX opens on 24 and 31 December and has a British substitute for Boxing Day",
    ),
    "XSWX": original(
        "XSWX", "SIX Swiss Exchange", "Europe/Zurich", "SIX, trading and currency holiday calendar 2026, six-group.com",
        chosen="same sessions as the library's own SIX since 2000",
    ),
    "XWBO": original("XWBO", "Vienna Stock Exchange", "Europe/Vienna", "trading calendar 2026, wienerborse.at"),
    "XMAD": original("XMAD", "Madrid Stock Exchange", "Europe/Madrid", "BME, calendar 2026, bolsasymercados.es"),
    "XLUX": original("XLUX", "Luxembourg Stock Exchange", "Europe/Luxembourg", "LuxSE, calendar 2026, luxse.com"),
    "XSTO": original("XSTO", "Nasdaq Stockholm", "Europe/Stockholm", "Nasdaq Nordic, trading hours 2026, nasdaq.com"),
    "XHEL": original("XHEL", "Nasdaq Helsinki", "Europe/Helsinki", "Nasdaq Nordic, trading hours 2026, nasdaq.com"),
    "XCSE": original("XCSE", "Nasdaq Copenhagen", "Europe/Copenhagen", "Nasdaq Nordic, trading hours 2026, nasdaq.com"),
    "XICE": original("XICE", "Nasdaq Iceland", "Atlantic/Reykjavik", "Nasdaq Nordic, trading hours 2026, nasdaq.com"),
    "XTAL": original("XTAL", "Nasdaq Tallinn", "Europe/Tallinn", "Nasdaq Baltic, holidays 2026, nasdaqbaltic.com"),
    "XRIS": original("XRIS", "Nasdaq Riga", "Europe/Riga", "Nasdaq Baltic, holidays 2026, nasdaqbaltic.com"),
    "XLIT": original("XLIT", "Nasdaq Vilnius", "Europe/Vilnius", "Nasdaq Baltic, holidays 2026, nasdaqbaltic.com"),
    "XWAR": original("XWAR", "Warsaw Stock Exchange", "Europe/Warsaw", "GPW, days without sessions 2026, gpw.pl"),
    "XPRA": original("XPRA", "Prague Stock Exchange", "Europe/Prague", "PSE, trading calendar 2026, pse.cz"),
    "XBUD": original("XBUD", "Budapest Stock Exchange", "Europe/Budapest", "BSE, trading calendar 2026, bse.hu"),
    "XBSE": original("XBSE", "Bucharest Stock Exchange", "Europe/Bucharest", "BVB, trading calendar 2026, bvb.ro"),
    "XBRA": original("XBRA", "Bratislava Stock Exchange", "Europe/Bratislava", "BSSE, trading calendar 2026, bsse.sk"),
    "XLJU": original("XLJU", "Ljubljana Stock Exchange", "Europe/Ljubljana", "LJSE, trading calendar 2026, ljse.si"),
    "XZAG": original("XZAG", "Zagreb Stock Exchange", "Europe/Zagreb", "ZSE, non-trading days 2026, zse.hr"),
    "XBEL": original("XBEL", "Belgrade Stock Exchange", "Europe/Belgrade", "BELEX, trading calendar 2026, belex.rs"),
    "XCYS": original("XCYS", "Cyprus Stock Exchange", "Asia/Nicosia", "CSE, holidays 2026, cse.com.cy"),
    "XATH": original("ASEX", "Athens Stock Exchange", "Europe/Athens", "ATHEX, holidays 2026, athexgroup.gr"),
    "XIST": original("XIST", "Borsa Istanbul", "Europe/Istanbul", "official holidays 2026, borsaistanbul.com"),
    "XTAE": original(
        "XTAE", "Tel Aviv Stock Exchange", "Asia/Jerusalem", "TASE, vacation schedule 2026, tase.co.il",
        regimes=(
            Regime(
                date(1990, 1, 1),
                ("09:59-17:15", "09:59-17:15", "09:59-17:15", "09:59-17:15", None, None, "09:59-15:40"),
            ),
            # TASE: trading moves to Monday to Friday on 2026-01-05, Fridays are short
            Regime(date(2026, 1, 5), (*("09:59-17:15",) * 4, "early 09:59-13:50", None, None)),
        ),
        chosen="knows the short Sundays and half days, the library's own TASE has one close for all",
    ),
    "XJSE": original("XJSE", "Johannesburg Stock Exchange", "Africa/Johannesburg", "JSE, calendar 2026, jse.co.za"),
    "XSAU": original(
        "XSAU", "Saudi Exchange", "Asia/Riyadh", "Saudi Exchange, trading holidays 2026, saudiexchange.sa",
        first=date(2021, 1, 1), last=date(2029, 12, 31),
        regimes=(Regime(date(2021, 1, 1), (*("10:00-15:00",) * 4, None, None, "10:00-15:00")),),
    ),
    "AIXK": original(
        "AIXK", "Astana International Exchange", "Asia/Almaty", "AIX, trading calendar 2026, aix.kz",
        first=date(2018, 1, 1),
    ),
    "XKAR": original("XKAR", "Pakistan Stock Exchange", "Asia/Karachi", "PSX, holidays 2026, psx.com.pk"),
    "XBOM": original(
        "XBOM", "BSE, Mumbai", "Asia/Kolkata", "BSE, trading holidays 2026, bseindia.com",
        first=date(1997, 1, 1), known=END_OF_2026, fixed=indian_holidays,
        chosen="the library's own BSE has fewer of the one-off closures",
    ),
    "XNSE": Exchange(
        "National Stock Exchange of India", "NSE", "exchange_calendars has none", "Asia/Kolkata", END_OF_2026,
        "NSE, trading holidays 2026, nseindia.com",
        first=date(1997, 1, 1), known=END_OF_2026, fixed=indian_holidays,
    ),
    "XBKK": original("XBKK", "Stock Exchange of Thailand", "Asia/Bangkok", "SET, holidays 2026, set.or.th"),
    "XIDX": original("XIDX", "Indonesia Stock Exchange", "Asia/Jakarta", "IDX, exchange holidays 2026, idx.co.id"),
    "XKLS": original("XKLS", "Bursa Malaysia", "Asia/Kuala_Lumpur", "Bursa Malaysia, holidays 2026, bursamalaysia.com"),
    "XPHS": original("XPHS", "Philippine Stock Exchange", "Asia/Manila", "PSE, trading holidays 2026, pse.com.ph"),
    "XSES": original(
        "XSES", "Singapore Exchange", "Asia/Singapore", "SGX, securities calendar 2026, sgx.com",
        known=END_OF_2026, fixed=singapore_holidays,
        regimes=(
            Regime(date(1990, 1, 1), weekdays("09:00-12:30 14:00-17:00")),
            Regime(date(2011, 8, 1), weekdays("09:00-17:00")),  # SGX: continuous all-day trading
        ),
    ),
    "XHKG": original(
        "XHKG", "Hong Kong Exchanges", "Asia/Hong_Kong", "HKEX, securities market trading calendar 2026, hkex.com.hk",
        regimes=(
            Regime(date(1990, 1, 1), weekdays("10:00-12:30 14:30-16:00")),
            # HKEX: extension of trading hours in two steps
            Regime(date(2011, 3, 7), weekdays("09:30-12:00 13:30-16:00")),
            Regime(date(2012, 3, 5), weekdays("09:30-12:00 13:00-16:00")),
        ),
        chosen="the library's own HKEX has no half days before holidays",
    ),
    "XSHG": Exchange(
        "Shanghai Stock Exchange", "SSE", "goes on by rule after 2026, where exchange_calendars ends", "Asia/Shanghai",
        END_OF_2026, "SSE, notice on closures of 2026, sse.com.cn", first=date(1991, 1, 1),
    ),
    "XTAI": original(
        "XTAI", "Taiwan Stock Exchange", "Asia/Taipei", "TWSE, market holidays 2026, twse.com.tw",
        first=date(2001, 1, 1),  # until 2000 some Saturdays were sessions, which the library does not know
    ),
    "XKRX": original(
        "XKRX", "Korea Exchange", "Asia/Seoul", "KRX, market holidays 2026, krx.co.kr",
        first=date(1999, 1, 1),  # until December 1998 Saturdays were sessions
    ),
    "XTKS": original(
        "XTKS", "Tokyo Stock Exchange", "Asia/Tokyo", "JPX, market holidays 2026, jpx.co.jp", first=date(1997, 1, 1),
        regimes=(
            Regime(date(1997, 1, 1), weekdays("09:00-11:00 12:30-15:00")),
            Regime(date(2011, 11, 21), weekdays("09:00-11:30 12:30-15:00")),  # JPX: longer morning
            Regime(date(2024, 11, 5), weekdays("09:00-11:30 12:30-15:30")),  # JPX: longer afternoon
        ),
        chosen="same sessions as the library's own JPX since 2000",
    ),
    "XASX": original(
        "XASX", "Australian Securities Exchange", "Australia/Sydney", "ASX, trading calendar 2026, asx.com.au",
        chosen="closes at 16:00 as continuous trading does; the library's own ASX counts the auction up to 16:10",
    ),
    "XNZE": original("XNZE", "New Zealand Exchange", "Pacific/Auckland", "NZX, trading calendar 2026, nzx.com"),
    "FX": Exchange(
        "foreign exchange, 24 hours on 5 days", None, "a convention of ours: no holidays, sessions end at 17:00",
        "America/New_York", date(2035, 12, 31), "the convention has no holidays to announce",
        regimes=(Regime(date(1990, 1, 1), weekdays("<17:00-17:00")),), closed=never,
    ),
    "TARGET": Exchange(
        "days with an ECB reference rate", None, "the ECB's rule is six days a year, no library has it with hours",
        "Europe/Berlin", date(2035, 12, 31),
        "ECB press release of 2000-12-14, TARGET closing days from 2002 until further notice",
        first=date(1999, 1, 4),  # the day of the first reference rate
        regimes=(
            Regime(date(1999, 1, 4), weekdays("07:00-18:00")),
            Regime(date(2023, 3, 20), weekdays("02:30-18:00")),  # the launch of T2
        ),
        closed=target_holidays,
    ),
}  # fmt: skip

ALIASES = {
    "XNAS": ("Nasdaq", "XNYS"), "XASE": ("NYSE American", "XNYS"), "ARCX": ("NYSE Arca", "XNYS"),
    "BATS": ("Cboe BZX", "XNYS"), "IEXG": ("Investors Exchange", "XNYS"), "XTSX": ("TSX Venture Exchange", "XTSE"),
    "XSHE": ("Shenzhen Stock Exchange", "XSHG"), "XKOS": ("KOSDAQ", "XKRX"), "ROCO": ("Taipei Exchange", "XTAI"),
}  # fmt: skip
"""Exchanges that keep another's sessions: their name, and whose."""
