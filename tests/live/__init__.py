"""Live tests: real servers, which the tests install and start themselves on this machine."""
