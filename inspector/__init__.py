"""Where analysts look at candidates and decide: a server-rendered web app over finished runs, and the store of decisions."""
