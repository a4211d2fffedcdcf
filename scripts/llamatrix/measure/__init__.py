"""Measurements: speed, telemetry, energy, context and template conformance."""
