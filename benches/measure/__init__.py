"""What `benches/run` is made of: the things under test, the measurements, and the figures."""
