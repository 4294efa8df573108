"""The console: a page that shows where every study is, and the same facts as JSON; it changes nothing."""
