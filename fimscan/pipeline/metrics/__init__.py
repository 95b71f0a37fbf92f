"""Metrics for Prometheus: numbers about fimscan's own work. No path, user or host name is a label.

gather   reads the store -> families of samples
expose   families -> text: for the collector of text files of node_exporter, or over HTTP on the loopback
checks   the check of 'fimscan doctor'
"""
