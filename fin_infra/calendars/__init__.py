"""When markets are open: sessions by exchange, from a snapshot that is compiled beforehand.

    calendar = get_calendar("XNYS")
    calendar.session(date(2026, 11, 27)).close_at  # 18:00Z: New York closes early after Thanksgiving

A session is named by its exchange-local date and lasts from `open_at` up to, not including, `close_at`. The snapshot
holds local hours; they become instants with the machine's time zone data on first use. Nothing here loads pandas.
"""

from __future__ import annotations

from fin_infra.calendars.calendar import Calendar, Kind, Session
from fin_infra.calendars.snapshot import calendar_names, get_calendar

__all__ = ["Calendar", "Kind", "Session", "calendar_names", "get_calendar"]
