"""Cold items and a live catalog: add a film nobody has seen, filter, and tell why it is listed.

``python examples/live_catalog.py`` takes ten seconds on the sample data.
"""

import polars as pl

import bigrec

dataset = bigrec.Dataset.sample()
model = bigrec.BIGRec(bigrec.Settings.read(overrides=["mode=text"])).fit(dataset)
history = ["The Silent Starship", "The Binary Airlock", "Android of Vega"]

# The catalog of tomorrow: two films are new, and one that was there is sold out.
films = pl.DataFrame({"item_id": dataset.catalog.item_ids, "title": dataset.catalog.titles})
films = films.with_columns(dataset.catalog.columns.select("genre", "year", "in_stock"))
premieres = pl.DataFrame(
    {
        "item_id": ["new1", "new2"],
        "title": ["The Frozen Airlock", "Waltz of Rue Violette"],
        "genre": ["Science Fiction", "Romance"],
        "year": [2025, 2025],
        "in_stock": [True, True],
    }
)
catalog = bigrec.Catalog.from_frame(
    pl.concat([films, premieres]), category="genre", columns=["genre", "year", "in_stock"]
)
model.update_catalog(catalog)  # embeds the two new titles and nothing else

# Nobody has watched the premieres. Their titles tell who may like them.
premiere = model.recommend(history, k=2, items=["new1", "new2"])
print("premieres, best first:", [item.title for item in premiere])
print("most similar:", model.similar("The Frozen Airlock", k=3).to_frame()["title"].to_list())

# Conditions on the columns of items.
stocked = model.recommend(history, k=5, where={"in_stock": True, "year": {"ge": 2020}})
print("in stock since 2020:", [item.title for item in stocked])

# What each part of the model adds to the score.
explanation = model.explain(history, "The Frozen Airlock")
print("rank of The Frozen Airlock:", explanation.rank)
for part in explanation.to_dict()["parts"]:
    print(part)
