"""Figures that others published, how each was measured and where it stands."""

from typing import NamedTuple


class Published(NamedTuple):
  """A figure of others: the last item of each user, ranked among all items."""

  system: str
  recall: float  # @10
  ndcg: float  # @10
  protocol: str  # a key of PROTOCOLS

  def __str__(self) -> str:
    """'0.3294 / 0.1893 (HSTU README)'."""
    return f"{self.recall:.4f} / {self.ndcg:.4f} ({self.protocol})"


PROTOCOLS = {
  "HSTU README": (
    "seen items masked; reads the time of the request, and trains on the validation item too; "
    "MovieLens ties in time reordered, so that a quarter of the test items differ. README of "
    "meta-recsys/generative-recommenders (Zhai et al., ICML 2024, arXiv:2402.17152), the masking "
    "from its research/data/eval.py"
  ),
  "eSASRec README": (
    "seen items masked; users and targets without training interactions removed. 'Calculated' "
    "columns in the README of blondered/transformer_benchmark (eSASRec), the masking from its "
    "src/evaluation/common.py and src/val_schemes/leave_one_out.py; HSTU and FuXi-α were trained "
    "with their own code and measured again there, their masking not verified"
  ),
  "TIGER paper": (
    "masking not stated, so taken as not masked. Rajput et al., NeurIPS 2023, arXiv:2305.05065, "
    "as quoted in the 'Reported' columns of the README of blondered/transformer_benchmark"
  ),
  "ActionPiece paper": (
    "masking not stated, so taken as not masked. 'Reported' columns in the README of "
    "blondered/transformer_benchmark"
  ),
  "NetEase README": (
    "seen items masked; reads the time of the request, trains on the validation item too, and "
    "the epoch was chosen on the test items. README of NetEase-Media/HSTU-Tensorflow"
  ),
  "WEARec logs": (
    "seen items masked; 5-core file of about 3,416 films; the best of 88 settings by their test "
    "figures, whose median is 0.3220 / 0.1873. Logs of xhy963319431/WEARec (AAAI 2026), history "
    "of 200 items"
  ),
  "RecBoard": (
    "seen items masked; mean of five seeds. benchmark/ of MTandHJ/RecBoard; BSARec is of "
    "Shin et al., AAAI 2024"
  ),
  "FADE paper": (
    "seen items masked, by a filter over the whole history; one run; a fine-tuned text encoder of "
    "600 million parameters reads the last three titles"
  ),
  "RPG paper": "masking not stated, so taken as not masked, as in its rerun by cornac",
  "DiffGRM paper": (
    "masking not stated, so taken as not masked; three reruns by cornac give NDCG@10 of 0.0277 "
    "to 0.0304"
  ),
}
PUBLISHED = {
  "movielens-1m": (
    Published("SASRec, sampled softmax", 0.2853, 0.1603, "HSTU README"),
    Published("HSTU", 0.3097, 0.1720, "HSTU README"),
    Published("HSTU-large", 0.3294, 0.1893, "HSTU README"),
    Published("SASRec, sampled softmax", 0.2929, 0.1684, "eSASRec README"),
    Published("eSASRec", 0.3133, 0.1772, "eSASRec README"),
    Published("HSTU", 0.3037, 0.1719, "eSASRec README"),
    Published("FuXi-α", 0.3164, 0.1813, "eSASRec README"),
    Published("WEARec", 0.3334, 0.1904, "WEARec logs"),
    Published("HSTU", 0.3419, 0.1944, "NetEase README"),
  ),
  "amazon-beauty": (
    Published("SASRec", 0.0605, 0.0318, "TIGER paper"),
    Published("TIGER", 0.0648, 0.0384, "TIGER paper"),
    Published("ActionPiece", 0.0775, 0.0424, "ActionPiece paper"),
    Published("SASRec, sampled softmax", 0.0921, 0.0531, "eSASRec README"),
    Published("eSASRec", 0.0928, 0.0523, "eSASRec README"),
    Published("HSTU", 0.0788, 0.0439, "eSASRec README"),
    Published("FuXi-α", 0.0809, 0.0451, "eSASRec README"),
    Published("BSARec", 0.1004, 0.0609, "RecBoard"),
    Published("FADE-0.6B", 0.1088, 0.0616, "FADE paper"),
    Published("RPG", 0.0809, 0.0464, "RPG paper"),
  ),
  "amazon-sports": (
    Published("SASRec", 0.0350, 0.0192, "TIGER paper"),
    Published("TIGER", 0.0400, 0.0225, "TIGER paper"),
    Published("ActionPiece", 0.0500, 0.0264, "ActionPiece paper"),
    Published("SASRec, sampled softmax", 0.0569, 0.0314, "eSASRec README"),
    Published("eSASRec", 0.0560, 0.0323, "eSASRec README"),
    Published("HSTU", 0.0437, 0.0243, "eSASRec README"),
    Published("FuXi-α", 0.0437, 0.0244, "eSASRec README"),
    Published("BSARec", 0.0596, 0.0342, "RecBoard"),
    Published("FADE-0.6B", 0.0684, 0.0371, "FADE paper"),
    Published("DiffGRM", 0.0550, 0.0305, "DiffGRM paper"),
  ),
}
