"""Interactions as RecTools reads them."""

import numpy as np
import pandas as pd


def frame(users: np.ndarray, items: np.ndarray) -> pd.DataFrame:
    """Interactions in the order of the rows."""
    times = pd.to_datetime(np.arange(len(items)), unit="s")
    return pd.DataFrame({"user_id": users, "item_id": items, "weight": 1.0, "datetime": times})
