"""What every driver owes to the suite; see test_contract.py."""
