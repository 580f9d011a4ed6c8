"""What the tests stand on: vendors on the loopback interface and a real, tiny model server."""
