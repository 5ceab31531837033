"""What the worker says of its own work: readable like any dataset, written by the engine."""

from __future__ import annotations

from fin_infra.datasets.base import Dataset, choice, count, flag, instant, text

STREAM_STATES = ("ok", "partial", "stale", "reauth", "error", "paused", "left_out")
OUTCOMES = ("ok", "partial", "later", "retry", "park", "quarantine", "stale_cursor")


class AccountStates(Dataset):
    """How fresh each account is, per dataset: one bad login stops nobody else, and says so here."""

    tenant_id = text("whose account it is", key=True)
    account_id = text("the account", key=True)
    dataset = text("the dataset", key=True)
    state = choice(STREAM_STATES, "state of this account in this dataset; left_out: its owner does not want it")
    last_success_at = instant("the last answer that was committed", null="never yet")
    vendor_as_of = instant("the vendor's own time of the data", null="not said")
    newest_row = text("newest date or instant among the rows", null="no rows")
    history_complete = flag("the vendor said that all history it has was delivered", null="not said")
    error_code = text("why it is not ok", null="it is ok")
    provider = text("the vendor's name")
    connection_id = text("the connection that delivers it now")
    fetched_at = instant("when this was last updated")
    run_id = text("the run that wrote it")


class Streams(Dataset):
    """One row per (connection, dataset): fresh or stale, and why. Freshness is not success: four columns of time."""

    connection_id = text("the connection", key=True)
    dataset = text("the dataset", key=True)
    tenant_id = text("whose connection it is")
    state = choice(
        STREAM_STATES,
        "ok, partial (some accounts), stale, reauth (the user must act), error, paused, left_out (all of its accounts)",
    )
    last_attempt_at = instant("when it was last tried", null="never yet")
    last_success_at = instant("when it last committed", null="never yet")
    vendor_as_of = instant("the vendor's own time of the data", null="not said")
    newest_row = text("newest date or instant among the rows", null="no rows")
    next_reason = text("what it is waiting for, or what the owner must do", null="nothing")
    error_code = text("why it is not ok", null="it is ok")
    provider = text("the vendor's name")
    fetched_at = instant("when this was last updated")
    run_id = text("the run that wrote it", null="never run yet")


class Runs(Dataset):
    """One row per finished attempt to sync one stream. A killed attempt leaves no row: its job's lease tells."""

    run_id = text("the run", key=True)
    tenant_id = text("whose connection it is")
    connection_id = text("the connection")
    dataset = text("the stream's dataset")
    lane = text("interactive, webhook, scheduled or backfill")
    started_at = instant("begin of the attempt")
    finished_at = instant("end of the attempt")
    outcome = choice(OUTCOMES, "what it came to")
    inserted = count("rows that are new")
    updated = count("rows that changed")
    removed = count("rows that left the table (history keeps them)")
    unchanged = count("rows that came again as they are")
    calls = count("calls made to the vendor")
    attempt = count("1 for the first attempt of its job")
    error_code = text("a key of the error table", null="no error")
    error = text("one sentence: what, where, remedy", null="no error")
    failed_calls = count("calls without an answer, or that the vendor could not serve", null="nobody was asked")
    waited_ms = count("milliseconds that all answers took together", null="nobody was asked")
    slowest_ms = count("milliseconds that the slowest answer took", null="nobody was asked")
    vendor_limit = count("units that the vendor's last answer said it permits", null="its answers do not say")
    vendor_remaining = count("units that it said are left", null="its answers do not say")
    vendor_reset_at = instant("when it said that all are free again", null="its answers do not say")
    provider = text("the vendor's name")
    fetched_at = instant("same as finished_at")


class Findings(Dataset):
    """What was seen to be wrong or doubtful and was not hidden: quarantined rows, guards, differing twins."""

    finding_id = text("stable for the same thing seen again", key=True)
    tenant_id = text("whose data it is")
    connection_id = text("the connection")
    dataset = text("the dataset")
    kind = text("row_invalid, contract_broken, shrink_guard, differing_twins, ambiguous_match, …")
    subject = text("account, row or page it is about", null="the whole stream")
    detail = text("what differs, in one sentence")
    state = choice(("open", "resolved"), "open until it is seen to be gone or resolved by the owner")
    first_seen_at = instant("when it was first seen")
    provider = text("the vendor's name")
    fetched_at = instant("when it was last seen")
    run_id = text("the run that saw it last")
