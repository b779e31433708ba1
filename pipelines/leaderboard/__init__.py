"""The leaderboard page: all settings, methods and costs in one HTML file."""
