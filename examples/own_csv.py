"""Your own CSV files: name their columns, look at the repairs, evaluate.

``python examples/own_csv.py`` writes two files as a shop might have them, from the sample data, and
reads them. Replace the first part by files of yours.
"""

from pathlib import Path

import polars as pl

import bigrec

# A file of interactions and a file of items, with column names as in a shop.
folder = Path("runs/own_csv")
folder.mkdir(parents=True, exist_ok=True)
sample = bigrec.Dataset.sample()
titles = pl.DataFrame({"sku": sample.catalog.item_ids, "name": sample.catalog.titles})
titles = titles.with_columns(sample.catalog.columns.select("genre", "in_stock"))
titles.write_csv(folder / "products.csv")
rows = sample.interactions
users = [
    user
    for user, start, end in zip(
        rows.user_ids, rows.user_start[:-1], rows.user_start[1:], strict=True
    )
    for _ in range(start, end)
]
orders = pl.DataFrame(
    {
        "customer": users,
        "sku": [sample.catalog.item_ids[item] for item in rows.items],
        "when": pl.Series(rows.times).cast(pl.Datetime("us")).dt.to_string("iso:strict"),
    }
)
# The last row names a product that is not in the shop: it is dropped, and the audit says so.
orders = pl.concat([orders, orders.tail(1).with_columns(sku=pl.lit("gone"))])
orders.write_csv(folder / "orders.csv")

dataset = bigrec.load_dataset(
    folder / "orders.csv",
    items=folder / "products.csv",
    user_id="customer",
    item_id="sku",
    time="when",
    title="name",
    category="genre",
    item_columns=["in_stock"],
    item_type="film",
)
for repair in dataset.repairs.as_rows():
    if repair.count:
        print(f"{repair.name}: {repair.count} of {repair.total}. {repair.done}", *repair.examples)

model = bigrec.BIGRec(bigrec.Settings.read(overrides=["mode=text"])).fit(dataset)
print(model.recommend(["The Binary Airlock"], k=5, where={"in_stock": True}).to_frame())
