"""Direct grounding: the language model points at the next title instead of writing it."""

from bigrec.direct.features import TitleFeatures
from bigrec.direct.grounder import DIRECT, DirectGrounder

__all__ = ["DIRECT", "DirectGrounder", "TitleFeatures"]
