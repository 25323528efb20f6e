"""How good a model is: metrics, their intervals and calibration, as pure functions on arrays."""
