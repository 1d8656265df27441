"""Whether quicker ways of writing titles write the same titles, and hit as often.

python benchmarks/same_texts.py runs/few-shot/bundle --prompts 500

Takes a bundle that writes titles. The first test histories are written for by transformers' own
beam search in float32, by ours in float32 and in bfloat16, and by CTranslate2 in int8 where it is
installed. Each way's best texts are compared with the first way's and grounded, seen items kept;
HR@10 comes with 95 % bootstrap intervals, and its difference to the first way's with a paired one.
What has been written is kept in the file ``--keep`` and not written again.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.references import generate_plainly
from bigrec.errors import ModelError
from bigrec.evaluation.metrics import query_values
from bigrec.evaluation.protocol import MethodResult, summarise
from bigrec.evaluation.significance import paired_differences
from bigrec.lm.model import LanguageModel
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.factory import draw, load_model, make_generator, make_renderer, read_source
from bigrec.recommender.query_encoders import writer_of
from bigrec.settings import Settings
from bigrec.storage import read_json, write_json
from bigrec.types import GeneratedText

REFERENCE = "transformers, float32"
K = 10


def ways(
    bundle: Path, titles: Sequence[str]
) -> dict[str, Callable[[Sequence[list[int]]], list[str]]]:
    """From the tokens of prompts to the best text of each, by name."""

    def loaded(dtype: str, *changes: str) -> tuple[LanguageModel, Settings]:
        own = Settings.read(bundle / "settings.yaml", [f"model.dtype={dtype}", *changes])
        lm = load_model(own)
        lm.load_adapter(bundle / "adapter")
        return lm, own

    def plainly(prompts: Sequence[list[int]]) -> list[str]:
        lm, own = loaded("float32")
        renderer = make_renderer(lm.tokenizer, own)
        written: list[str] = []
        for start in range(0, len(prompts), 8):
            ids = generate_plainly(
                lm.model,
                lm.tokenizer,
                prompts[start : start + 8],
                end_ids=renderer.stop_ids,
                beams=own.generate.beams,
            )
            written += [renderer.read(one) for one in ids]
            sys.stderr.write(f"{len(written)} of {len(prompts)}\n")
        return written

    def ours(dtype: str, *changes: str) -> Callable[[Sequence[list[int]]], list[str]]:
        def write(prompts: Sequence[list[int]]) -> list[str]:
            lm, own = loaded(dtype, *changes)
            renderer = make_renderer(lm.tokenizer, own)
            generator = make_generator(lm, renderer, titles, settings=own)
            return [texts[0].text for texts in generator.generate(prompts)]

        return write

    return {
        REFERENCE: plainly,
        "ours, float32": ours("float32", "generate.backend=transformers"),
        "ours, bfloat16": ours("bfloat16", "generate.backend=transformers"),
        "CTranslate2, int8": ours(
            "float32", "generate.backend=ctranslate2", "generate.compute_type=int8"
        ),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--keep", type=Path, default=Path("same-texts.json"))
    given = parser.parse_args()

    model = BIGRec.load(given.bundle)
    writer, catalog = writer_of(model.parts.answerer), model.catalog
    dataset = read_source(model.settings.data)
    test = draw(dataset, model.settings).test
    histories, targets = test.histories[: given.prompts], test.targets[: given.prompts]
    prompts = [
        writer.renderer.prompt_ids([catalog.titles[item] for item in history], dataset.noun)
        for history in histories
    ]
    kept = read_json(given.keep) if given.keep.is_file() else {}
    results = []
    for name, write in ways(given.bundle, catalog.group_titles).items():
        key = f"{name}, {len(prompts)}"
        try:
            kept[key] = kept.get(key) or write(prompts)
        except ModelError as error:
            sys.stderr.write(f"{name} is left out: {error}\n")
            continue
        write_json(given.keep, kept)
        texts = [[GeneratedText(text, 0.0)] for text in kept[key]]
        (found,) = writer.ranker.evaluate(
            writer.ranker.queries(texts, writer.embedder), targets, k=K, modes=["first"]
        )
        results.append(MethodResult(name, False, found.ranks))

    metric = f"hr@{K}"
    rows = {row.method: row for row in summarise(results, seed=0) if row.metric == metric}
    values = {one.name: query_values(one.ranks, metric)[:, None] for one in results}
    sys.stdout.write("| | same best text | HR@10 | difference |\n| --- | --- | --- | --- |\n")
    reference = kept[f"{REFERENCE}, {len(prompts)}"]
    for name, row in rows.items():
        pairs = zip(kept[f"{name}, {len(prompts)}"], reference, strict=True)
        same = float(np.mean([one == other for one, other in pairs]))
        less = paired_differences(values[name], values[REFERENCE], seed=0)
        difference = f"{less.difference[0]:+.4f} [{less.low[0]:+.4f}, {less.high[0]:+.4f}]"
        hits = f"{row.value:.4f} [{row.low:.4f}, {row.high:.4f}]"
        sys.stdout.write(f"| {name} | {same:.1%} | {hits} | {difference} |\n")


if __name__ == "__main__":
    main()
