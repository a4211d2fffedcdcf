"""The largest context of a served model that fits, stays fast and passes recall."""
