"""A synthetic world of items and users whose next-item distribution is known exactly.

  python -m sidrec.bench.world --items=10000 --users=10000 --folder=runs/worlds/1e4
  python -m sidrec.main --config=configs/world.py:1e4
  python -m sidrec.bench.world --score=runs/world-1e4

Read in this order: `settings` (what there is to choose), `draws` (random numbers by place),
`catalogue` (items in a tree of categories), `users` (what people do), `truth` (how likely each next
item is), `vectors` (of items), `write` (files), `score` (a trained run beside the truth).
"""
