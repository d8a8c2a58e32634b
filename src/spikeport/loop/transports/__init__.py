"""Sources and sinks between processes: UDP, ZeroMQ, the lab streaming layer, Redis streams as BRAND writes them."""
