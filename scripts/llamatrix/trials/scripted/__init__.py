"""The scripted model: an authored transcript, played over real serving."""
