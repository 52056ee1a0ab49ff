"""Mathematical problems whose answers are checked by their final answer."""
