"""Instead of prometheus_client, which Guillotina does not need: a site without metrics, as after installation."""

raise ImportError("this site has no metrics")
