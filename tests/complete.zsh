# complete.zsh FOLDER LINE TEXT: is TEXT what zsh, with the completions of FOLDER, makes of LINE and a tab, or lists for it?
# zsh completes at a terminal alone, so that it gets one here; it has ten seconds.
zmodload zsh/zpty
TERM=vt100
zpty shell zsh -f -i
zpty -w shell "PS1=; RPS1=; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; LISTMAX=1000; print RE''ADY"
out=
while zpty -r shell line; do
    out+=$line
    [[ $out == *READY* ]] && break
done
zpty -w -n shell "$2"$'\t'
out=
for try in {1..100}; do
    sleep 0.1
    while zpty -r -t shell line; do out+=$line; done
    [[ $out == *"$3"* ]] && { zpty -d shell; exit 0; }
done
zpty -d shell
print -r -- "$out" | tr -d '\000'
exit 1
