"""Ships configs/ inside the package, as sidrec.configs; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["sidrec", "sidrec.*"]), "sidrec.configs"],
  package_dir={"sidrec.configs": "configs"},
)
