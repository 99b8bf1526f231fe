"""In place of prometheus_client, which no Guillotina needs: a site without metrics, as it is when installed."""

raise ImportError("this site has no metrics")
