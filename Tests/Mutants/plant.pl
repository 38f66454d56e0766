#!/usr/bin/perl
# plant.pl FOLDER TREE: plants every bug of FOLDER/*.mutants in the copy of the sources at TREE, each
# behind the number that VBLK_MUTANT chooses at run time, and prints number, suites and name of each.
# A bug has a place or more, each with its file. One whose place is not found exactly once is an
# error: the code has moved on, and so must it.
use strict;
use warnings;

my ($folder, $tree) = @ARGV;
my (@mutants, $mutant, $place);
for my $path (sort glob "$folder/*.mutants") {
  open my $in, '<', $path or die "$path: $!";
  while (my $line = <$in>) {
    chomp $line;
    next if $line =~ /^(#|\s*$)/;
    if ($line =~ /^mutant (.+)/) { push @mutants, $mutant = {name => $1, places => []} }
    elsif ($line =~ /^file (.+)/) {
      push @{$mutant->{places}}, $place = {file => $1, from => [], to => []}
    }
    elsif ($line =~ /^by (.+)/) { $mutant->{by} = $1 }
    # A bar stands where the line begins: what follows it has its own indentation.
    elsif ($line =~ /^- \|?(.*)/) { push @{$place->{from}}, $1 }
    elsif ($line =~ /^\+ \|?(.*)/) { push @{$place->{to}}, $1 }
    else { die "$path: $line" }
  }
}
my %text;
my ($number, $lost) = (0, 0);
for my $mutant (@mutants) {
  my $name = $mutant->{name};
  $number++;
  for my $place (@{$mutant->{places}}) {
    my $file = $place->{file};
    unless (exists $text{$file}) {
      open my $in, '<', "$tree/$file" or die "$name: $file: $!";
      local $/;
      $text{$file} = <$in>;
    }
    my $from = join "\n", @{$place->{from}};
    my $to = join "\n", @{$place->{to}};
    die "$name: plants nothing\n" unless $to =~ s/PLANTED/chio_planted($number)/g;
    my $count = () = $text{$file} =~ /\Q$from\E/g;
    if ($count != 1) {
      print STDERR "$name: its place is found $count times in $file:\n$from\n";
      $lost++;
    }
    $text{$file} =~ s/\Q$from\E/$to/;
  }
  print join("\t", $number, $mutant->{by}, $name), "\n";
}
exit 1 if $lost;
for my $file (keys %text) {
  $text{$file} =~ s/^(public |internal )?import CHostIO\n//mg;
  open my $out, '>', "$tree/$file" or die "$file: $!";
  print $out "public import CHostIO\n", $text{$file};
}
