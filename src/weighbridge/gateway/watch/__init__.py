"""What is seen of the traffic: metrics, logs and signals of the guard. No prompt is kept."""
