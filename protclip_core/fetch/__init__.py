"""Files from elsewhere: the catalog of models, hubs, Zenodo, downloads, the cache."""
