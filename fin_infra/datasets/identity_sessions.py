from __future__ import annotations

from fin_infra.datasets.base import Dataset, instant, text


class IdentitySessions(Dataset):
    """Sessions in which a vendor verifies who somebody is: that there is one, and what came of it.

    Nothing of documents or persons is stored, and no link that opens a session.
    """

    tenant_id = text("whose it is", key=True)
    session_id = text("the vendor's id", key=True)
    status = text("requires_input, processing, verified, canceled, or the vendor's new word")
    type = text("what is verified: document, id_number, or the vendor's new word", null="not said")
    created_at = instant("when it was started")
    last_error_code = text("why the last try failed, in the vendor's word", null="none failed")
    provider = text("the vendor's name")
    connection_id = text("the connection that delivers it now")
    fetched_at = instant("when the answer came that made this version of the row")
    run_id = text("the run that wrote this version of the row")
