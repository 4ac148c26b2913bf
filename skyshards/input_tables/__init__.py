"""Reader for input catalogues in any of the usual table formats."""
