"""The page: what a validation found, as one HTML file that needs no network."""
