"""Functions that several methods share. A method calls these functions instead of inheriting from another method."""
