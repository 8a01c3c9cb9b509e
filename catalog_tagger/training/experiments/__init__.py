"""The experiments of "Detection and characterization of singing voice using deep neural networks"
(speech and music on a streaming catalogue, 2015), on recordings of one's own.

``python -m catalog_tagger.training.experiments --manifest clips.csv`` runs Experiments 1 to 8 and
puts the paper's tables beside the ones measured. What it last gave stands in `results/`.

- `samples`: which five seconds of which clip are trained on, validated on and tested on;
- `features`: each front end over all samples, once;
- `network`: the network whose number of layers and inputs are compared;
- `settings`: every setting of every experiment, with the paper's figures;
- `runner`: one setting, trained and tested, kept as JSON;
- `tables`, `pictures`: what is shown of them.
"""
