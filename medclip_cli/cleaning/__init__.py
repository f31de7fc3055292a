"""Rules that keep or reject a row with a reason, and the pipeline that counts them."""
