"""Training and evaluation: configuration, the loop, checkpoints, COCO metrics, run folders.

`roikit.train.loop.train` is the loop, `roikit.train.config.TrainConfig` what it takes,
`roikit.train.trained.load_trained` gives a trained detector back. Nothing is imported here: most of these modules load
accelerate or jsonargparse.
"""
