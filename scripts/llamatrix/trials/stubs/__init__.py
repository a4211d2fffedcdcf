"""Stand-ins for the services that tasks and agents talk to: real servers of ours."""
