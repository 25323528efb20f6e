"""Backbones: pretrained networks as rows of a catalog, their weights, and frozen features.

    catalog.toml   one row per network, one table per family; catalog.py reads it
    describe.py    a row made on the fly for a name such as ``timm:NAME`` or ``folder:PATH``
    configs.py     the configuration of a checkpoint, read with care
    cache.py       where weights are cached, and the pins of hub repositories
    weights.py     the checked safetensors file of a row, from a package, the hub or a folder
    sources.py     the module of a row, from timm, torchvision, transformers, Keras or a plugin
    keras_source.py, keras_files.py   networks of Keras, and how their files are read
    network.py     FrozenNetwork: pictures in, pooled features of all blocks out

Only ``network`` imports torch at its top; the others do when they must build or convert.
"""
