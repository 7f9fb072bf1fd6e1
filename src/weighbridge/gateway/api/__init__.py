"""The data plane: requests in, answers out, metered on the way."""
