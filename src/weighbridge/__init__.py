"""Weighbridge: release engineering for language models. Checkpoint, evidence, decision, release.

The main job from Python; importing this package alone loads nothing else:

    from weighbridge import api
    checkpoint = api.open_checkpoint("my-model")
    outcome = api.weigh(checkpoint, api.load_policy("default"), "weighing", budget=600)
    print(outcome.decision.tier, outcome.judgement.outcome("open"))
"""

__version__ = "0.1.0"
