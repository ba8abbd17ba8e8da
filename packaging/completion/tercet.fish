# Completion of tercet for fish.
complete -c tercet -f -a '(tercet __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
