"""What runs inside a TRL environment: TRL's own trainers on tiny models, their inputs and losses written down.

No formula of a loss stands here: a trainer is built as a user builds it, its method is called, and spies note what goes
in and what comes out.
"""
