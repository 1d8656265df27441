"""Interactions that come after a fit, read strictly: all of them can be used, or none is."""

from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame
from bigrec.data.interactions import Interactions
from bigrec.data.repairs import Repairs
from bigrec.errors import DataError


def read_later(
    frame: Frame,
    catalog: Catalog,
    *,
    user_id: str,
    item_id: str,
    time: str | None,
    order: str | None,
) -> Interactions:
    """Read interactions; for the arguments see `Interactions.from_frame`.

    Raises:
        DataError: If a column is missing, or a row cannot be used.
    """
    repairs = Repairs()
    table = Interactions.from_frame(
        frame,
        catalog,
        user_id=user_id,
        item_id=item_id,
        time=time,
        order=order,
        rating=None,
        split=None,
        repairs=repairs,
    )
    n_rows = max(repair.total for repair in repairs.as_rows())
    if len(table) != n_rows:
        dropped = "; ".join(
            f"{repair.name}: {repair.count}"
            + "".join(f", such as {example}" for example in repair.examples[:1])
            for repair in repairs.as_rows()
            if repair.count and repair.done.startswith("Dropped")
        )
        raise DataError(
            f"{n_rows - len(table)} of {n_rows} interactions cannot be used ({dropped}). Remove "
            "them, or add new items with update_catalog() first."
        )
    return table
