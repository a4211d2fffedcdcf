"""What a model says of finished work, by a fixed rubric; it decides nothing."""
