"""Connectors: few tokens from many. Trunks compute, ports hold one stream's parameters, fusion joins streams."""
