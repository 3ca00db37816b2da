"""What `benches/run` and `benches/wake` are made of: the things under test, the measurements, and the figures."""
