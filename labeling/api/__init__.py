"""The API of labeling: `labelers` hands out pages and takes answers, `managers` follows and reviews."""
