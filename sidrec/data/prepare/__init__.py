"""Raw logs of any size → a store of shards: `python -m sidrec.data.prepare`."""
