"""Stand-ins for the services the tasks talk to: real HTTPS servers of ours."""
