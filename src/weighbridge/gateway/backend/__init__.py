"""What answers behind the gateway: the engine as a child, its socket, and the wire to it or to another server."""
